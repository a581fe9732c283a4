"""What `pixlake benchmark` found: the JSON that it prints, and what its page and its text are made of."""

from pydantic import BaseModel


class Measured95(BaseModel):
    """A mean over images with its 95 % interval, by bootstrap."""

    mean: float
    low: float
    high: float
    images: int


class LookResult(BaseModel):
    """What one change of an image does to its vector."""

    found: Measured95
    """R@1: share of the changed images whose original is nearest of all images."""
    cosine: Measured95
    """Mean cosine to the original."""
    neighbours_changed: Measured95
    """Mean share of the original's ten nearest others that are not among the changed image's."""


class SpreadResult(BaseModel):
    """How a network's vectors of the same images are spread."""

    images: int
    effective_rank: float
    mean_pair_cosine: float
    knn: float | None
    """10-NN accuracy; None without labels."""


class DomainResult(BaseModel):
    """A model beside the same network with random weights."""

    own: SpreadResult
    random: SpreadResult | None
    lost: bool
    why: str


class QueryTimeResult(BaseModel):
    """How long a query for the ten nearest takes here, one at a time."""

    rows: int
    """Of the table that was searched: the images, or as many as were asked for."""
    queries: int
    """That were timed."""
    p50_ms: float
    p99_ms: float


class IndexTimeResult(BaseModel):
    """The same through the index that `pixlake index` builds on a model's vectors."""

    type: str
    query: QueryTimeResult
    bytes: int
    recall: float
    """Index recall@10."""
    build_seconds: float


class RepresentationResult(BaseModel):
    """One way of storing a model's vectors, on the half of the images that nothing was fitted on."""

    name: str
    dim: int
    bytes_per_vector: float
    """That a search reads to find candidates."""
    bytes_stored: float
    """With the full vectors by which candidates are ordered anew, where they are."""
    recall: Measured95 | None
    """Recall@10 against the model's own vectors in float32."""
    knn: Measured95 | None
    """10-NN accuracy; None without labels."""
    on_front: bool
    """Whether nothing that was measured is better for as few bytes."""
    query: QueryTimeResult | None = None
    """Comparing with every row."""


class SpeedResult(BaseModel):
    """What the model takes on this machine."""

    decode_ms: float
    """Core milliseconds to fetch and decode one image, the same for all models."""
    forward_ms: float
    """Core milliseconds of one forward pass (on a GPU, milliseconds by the clock)."""
    forward_images_per_s: float | None
    """Forward passes alone, as they were timed here."""
    images_per_s: float
    """What an embed job can be expected to do on this machine's cores."""
    index_bytes: float
    """Of a million of its vectors, by the first index that `pixlake index` would try; 0 where none is needed."""
    cost_per_million: float | None
    """In the currency of `price`; None without one."""
    query: QueryTimeResult | None = None
    """Comparing with the vectors of every row, as the model gives them."""
    index: IndexTimeResult | None = None
    no_index: str = ""
    """Why there is none: comparing with every row is fast enough, or no index finds enough."""


class ModelResult(BaseModel):
    """One model. What is None was not measured, and why is in `notes`."""

    name: str
    model: str
    failed: str | None = None
    """Why it could not be judged; then there is nothing else."""
    dim: int | None = None
    parameters: int | None = None
    images: int | None = None
    knn: dict[int, Measured95] = {}
    """k -> accuracy by most of the k nearest others."""
    mean_average_precision: Measured95 | None = None
    probe: Measured95 | None = None
    """Accuracy of a linear probe on images of groups that it has not seen."""
    zero_shot: Measured95 | None = None
    text_to_image: dict[int, Measured95] = {}
    """R@k between captions and images."""
    image_to_text: dict[int, Measured95] = {}
    copies: Measured95 | None = None
    """R@1 of changed copies that are still the same picture, the mean of all kinds."""
    looks: dict[str, LookResult] = {}
    domain: DomainResult | None = None
    representations: list[RepresentationResult] = []
    not_fitted: dict[str, str] = {}
    speed: SpeedResult | None = None
    notes: list[str] = []


class SampleResult(BaseModel):
    """What all models were compared on."""

    source: str
    rows: int
    """Rows of the source."""
    drawn: int
    images: int
    """Images for which every model that is judged has a vector."""
    failures: dict[str, int]
    failure_example: str
    groups: int
    """Groups of images that never judge each other."""
    labels: dict[str, int]
    """Label -> images."""
    changed: int


class Recommendation(BaseModel):
    """Which model to take, and why, in words and in figures."""

    model: str | None
    representation: str | None
    measure: str
    """By which models were compared."""
    sentence: str
    lost: list[str]
    """Models that tell images of this kind apart no better than random weights."""


class Benchmark(BaseModel):
    """The outcome of one `pixlake benchmark`."""

    made_at: str
    seed: int
    label: str | None
    group: str | None
    caption: str | None
    price: float | None
    cores: int
    device: str
    sample: SampleResult
    models: list[ModelResult]
    recommendation: Recommendation
    page: str
    plot: str | None
