"""Images and words in one space: which find each other, and what class names alone tell."""

from dataclasses import dataclass

import numpy as np

from pipelines.judging.labelled import parts

RECALLS = (1, 5, 10)
TEMPLATES = ("a photo of a {}.", "a picture of a {}.", "a close-up photo of a {}.", "an image showing a {}.")


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """k -> (N,) float64: whether a right answer is among the k nearest."""

    text_to_image: dict[int, np.ndarray]
    image_to_text: dict[int, np.ndarray]


def retrieval(images_ND: np.ndarray, texts_MD: np.ndarray, text_of_N: np.ndarray) -> Retrieval:
    """R@1, 5 and 10 between N images and M different captions, unit vectors of one space. `text_of_N` is the number of
    each image's caption: every image with a caption is a right answer to it. A text's value stands at each of its
    images, so that both directions are means over images."""
    first_image, first_text = np.empty(len(images_ND)), np.empty(len(images_ND))
    for part in parts(len(images_ND)):
        scores = images_ND[part] @ texts_MD.T
        own = scores[np.arange(len(scores)), text_of_N[part]]
        first_text[part] = (scores > own[:, None]).sum(axis=1)
    better = np.zeros(len(texts_MD), np.int64)
    for part in parts(len(texts_MD)):
        scores = texts_MD[part] @ images_ND.T
        # Out of this very product: of the other one it may differ in the last bit, and be better than itself.
        of_part = np.flatnonzero((text_of_N >= part.start) & (text_of_N < part.stop))
        places, best = text_of_N[of_part] - part.start, np.full(len(scores), -np.inf, scores.dtype)
        np.maximum.at(best, places, scores[places, of_part])
        better[part] = (scores > best[:, None]).sum(axis=1)
    first_image = better[text_of_N]
    return Retrieval(
        text_to_image={k: (first_image < k).astype(float) for k in RECALLS},
        image_to_text={k: (first_text < k).astype(float) for k in RECALLS},
    )


def class_vectors(of_prompts_CPD: np.ndarray) -> np.ndarray:
    """(C, D): of each class the mean of its prompts' unit vectors, at unit length. Radford et al. 2021, "Learning
    Transferable Visual Models From Natural Language Supervision", 3.1.4."""
    mean = of_prompts_CPD.mean(axis=1)
    vectors: np.ndarray = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    return vectors


def zero_shot_right(images_ND: np.ndarray, classes_CD: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """(N,) float64: whether the nearest class is the image's label."""
    right: np.ndarray = ((images_ND @ classes_CD.T).argmax(axis=1) == labels_N).astype(float)
    return right
