"""Vertex AI's wire format and its description, without a network; and, where asked for, the real service."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from operators.api.options import ApiOptions
from operators.api.vertex import API
from operators.base.errors import ErrorClass
from operators.fetching.attempt import FetchError
from operators.models.load import describe
from operators.models.resolve import WantedModel, resolve_models
from operators.models.runtime import Runtime
from operators.models.spec import ModelError, parse_model_name
from operators.pixels.preprocess import PreprocessOverrides

NAME = "vertex:multimodalembedding@001"


@pytest.mark.parametrize(("name", "dim"), [(NAME, 1408), *((f"{NAME}/{dim}", dim) for dim in (128, 256, 512, 1408))])
def test_the_description_needs_no_network(name: str, dim: int) -> None:
    model = describe(parse_model_name(name))
    assert (model.dim, model.text, model.weights_sha256) == (dim, True, "")
    assert (model.preprocess.resize, model.preprocess.height, model.preprocess.width) == ("longest", 512, 512)


def test_it_is_planned_as_every_model_is() -> None:
    (resolved,) = resolve_models([WantedModel(spec=parse_model_name(NAME), runtime=Runtime(), canaries=False)])
    assert resolved.description == describe(parse_model_name(NAME))


def test_describing_imports_no_torch() -> None:
    code = (
        "import sys\nfrom operators.models.load import describe\nfrom operators.models.spec import parse_model_name\n"
        f"describe(parse_model_name({NAME!r}))\nimport operators.embed_api\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


@pytest.mark.parametrize("dim", ["64", "1024", "0", "-128", "128.0", "large"])
def test_other_lengths_are_refused_with_the_ones_there_are(dim: str) -> None:
    with pytest.raises(ModelError, match="128, 256, 512, 1408"):
        describe(parse_model_name(f"{NAME}/{dim}"))


@pytest.mark.parametrize("model", ["multimodalembedding", "multimodalembedding@002", "textembedding-gecko@003"])
def test_other_models_are_refused_with_the_one_there_is(model: str) -> None:
    with pytest.raises(ModelError, match="multimodalembedding@001"):
        describe(parse_model_name(f"vertex:{model}/128"))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"pooling": "avg"}, "pooling"),
        ({"layer": -2}, "layer"),
        ({"preprocess": PreprocessOverrides(mean=(0.5, 0.5, 0.5))}, "preprocess.mean"),
    ],
)
def test_what_happens_at_the_provider_cannot_be_set(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ModelError, match=named):
        describe(parse_model_name(NAME).model_copy(update=changes))


def test_the_request_is_the_documented_one() -> None:
    request = API.image_request(b"\xff\xd8jpeg", 512)
    assert json.loads(request.body) == {
        "instances": [
            {"image": {"bytesBase64Encoded": base64.b64encode(b"\xff\xd8jpeg").decode(), "mimeType": "image/jpeg"}}
        ],
        "parameters": {"dimension": 512},
    }
    assert json.loads(API.text_request("ein Hund: 犬", 128).body) == {
        "instances": [{"text": "ein Hund: 犬"}],
        "parameters": {"dimension": 128},
    }


@pytest.mark.parametrize(
    ("options", "host"),
    [
        (ApiOptions(project="p"), "https://us-central1-aiplatform.googleapis.com"),
        (ApiOptions(project="p", endpoint="https://psc.example.com/"), "https://psc.example.com"),
    ],
)
def test_the_address_is_the_documented_one(options: ApiOptions, host: str) -> None:
    wanted = "/v1/projects/p/locations/us-central1/publishers/google/models/multimodalembedding@001:predict"
    assert API.url(describe(parse_model_name(NAME)), options) == host + wanted


def test_answers_are_read_by_their_kind() -> None:
    answer = json.dumps({"predictions": [{"imageEmbedding": [0.5] * 128, "textEmbedding": [0.25] * 128}]}).encode()
    assert API.read_vector("image", answer, 128).tolist() == [0.5] * 128
    assert API.read_vector("text", answer, 128).dtype == np.float32
    assert API.read_vector("text", answer, 128)[0] == 0.25
    with pytest.raises(FetchError, match="128 components, 256 were asked for"):
        API.read_vector("image", answer, 256)


@pytest.mark.parametrize(
    ("vector", "expected"),
    [
        (json.dumps("1" * 128), ErrorClass.BAD_RESPONSE),
        (json.dumps(["1"] * 128), ErrorClass.BAD_RESPONSE),
        (json.dumps([True] * 128), ErrorClass.BAD_RESPONSE),
        (json.dumps({str(n): n for n in range(128)}), ErrorClass.BAD_RESPONSE),
        (json.dumps([1e300] * 128), ErrorClass.BAD_VECTOR),
        (json.dumps([10**400] * 128), ErrorClass.BAD_VECTOR),
        (json.dumps([float("-inf")] * 128), ErrorClass.BAD_VECTOR),
        (json.dumps([float("nan")] * 128), ErrorClass.BAD_VECTOR),
    ],
)
def test_what_is_no_vector_of_float32_is_refused(vector: str, expected: ErrorClass) -> None:
    answer = f'{{"predictions": [{{"imageEmbedding": {vector}}}]}}'.encode()
    with pytest.raises(FetchError) as caught:
        API.read_vector("image", answer, 128)
    assert caught.value.error_class is expected


def test_whole_numbers_are_components_too() -> None:
    answer = json.dumps({"predictions": [{"imageEmbedding": [1, -2.5] * 64}]}).encode()
    assert API.read_vector("image", answer, 128).tolist() == [1.0, -2.5] * 64


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b'{"error": {"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}}', "INVALID_ARGUMENT: bad"),
        (b'{"error": "a string"}', '{"error": "a string"}'),
        (b"<html>proxy\n\x00</html>", "<html>proxy </html>"),
        (b"", ""),
        (b"[" * 200_000, "[" * 200),
    ],
)
def test_whatever_an_error_says_is_one_clean_line(answer: bytes, said: str) -> None:
    assert API.read_error(answer) == said


@pytest.mark.skipif(
    os.environ.get("PIXLAKE_LIVE_VERTEX") != "1",
    reason="asks the real service, for a fraction of a cent: set PIXLAKE_LIVE_VERTEX=1, GOOGLE_CLOUD_PROJECT and "
    "Google credentials",
)
def test_the_real_service_finds_a_cat_by_words() -> None:
    import pyarrow as pa
    from skimage import data

    from operators.base.arrays import pixels_field, vectors_to_numpy
    from operators.base.columns import HEIGHT, SOURCE_SCHEMA, WIDTH
    from operators.embed_api import api_embed_config, ask_for_text
    from operators.pixels.resize import fit

    model, api = describe(parse_model_name(f"{NAME}/128")), ApiOptions()
    pictures = [data.cat(), data.rocket(), data.coffee()]
    canvas = np.zeros((3, 512, 512, 3), np.uint8)
    for picture, out in zip(pictures, canvas, strict=True):
        fit(picture, model.preprocess, out)
    batch = pa.Table.from_pydict({f.name: pa.nulls(3, f.type) for f in SOURCE_SCHEMA if f.nullable})
    batch = batch.append_column("pixels", pa.array([each.tobytes() for each in canvas], pixels_field(512, 512).type))
    batch = batch.append_column(HEIGHT, pa.array([p.shape[0] for p in pictures], HEIGHT.type))
    batch = batch.append_column(WIDTH, pa.array([p.shape[1] for p in pictures], WIDTH.type))
    operator = api_embed_config(model, api).build()
    vectors = vectors_to_numpy(operator(batch)["vector"])
    operator.close()
    words = ask_for_text("a photo of a cat", model, api)
    assert int(np.argmax(vectors @ words)) == 0
