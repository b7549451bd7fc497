"""What dlib's analyzer says of a face is what dlib itself says, also where it is asked later."""

from __future__ import annotations

from dataclasses import replace

import dlib
import numpy as np

from avatar_pipeline.faces.analyzers.dlib import DlibAnalyzer, model_files


class CountingAnalyzer(DlibAnalyzer):
    """Counts the embeddings that it computes."""

    embedded = 0

    def _embed(self, aligned: np.ndarray) -> np.ndarray:
        self.embedded += 1
        return super()._embed(aligned)


def test_an_embedding_is_computed_when_asked_for_and_is_dlibs_own(look) -> None:
    image, _ = look("P004", "neutral")
    # a row less: beside the memory of faces that tests share
    cropped = np.ascontiguousarray(image[:-1])
    analyzer = CountingAnalyzer()
    (face,) = analyzer.analyze(cropped)
    assert analyzer.embedded == 0
    files = {name: str(path) for name, path in model_files().items()}
    shape = dlib.shape_predictor(files["landmarks"])(
        cropped, dlib.rectangle(*(round(float(side)) for side in face.box))
    )
    recogniser = dlib.face_recognition_model_v1(files["embedding"])
    expected = np.array(recogniser.compute_face_descriptor(cropped, shape), dtype=np.float32)
    assert np.array_equal(face.embedding, expected)
    assert face.embedding is face.embedding
    assert analyzer.embedded == 1


def test_a_changed_copy_of_a_face_keeps_its_embedding(look) -> None:
    _, (face, *_) = look("P004", "neutral")
    assert np.array_equal(replace(face, score=0.1).embedding, face.embedding)
    other = np.zeros(128, dtype=np.float32)
    assert replace(face, embedding=other).embedding is other
