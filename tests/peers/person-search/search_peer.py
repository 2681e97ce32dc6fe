"""The search metric in NumPy, with scikit-learn's average precision, as public code has it.

    search_peer.py FOLDER STEPS

Prints one JSON object: the mean average precision of each size of gallery, and the seconds of each step.
"""

import json
import os
import sys
import warnings

import numpy as np
from safetensors.numpy import load_file
from sklearn.metrics import average_precision_score

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "training"))
from torch_side import timed  # noqa: E402


def overlaps(box, boxes):
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    both = np.clip(high - low, 0.0, None).prod(1)
    return both / ((boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod() - both)


class Search:
    def __init__(self, folder):
        found = load_file(f"{folder}/search.safetensors")
        of, people = found["detections"][:, 0], found["people"]
        scenes = range(int(of.max()) + 1)
        # The first and the one behind the last detection of each scene.
        self.spans = [(np.searchsorted(of, k), np.searchsorted(of, k, side="right")) for k in scenes]
        self.boxes = found["detections"][:, 1:].astype(np.float64)
        self.features, self.query_features = found["features"], found["query_features"]
        self.queries = found["queries"][:, 0].astype(int)
        self.truths = [{} for _ in scenes]
        for row in people:
            self.truths[int(row[0])].setdefault(int(row[5]), row[1:5].astype(np.float64))
        sizes = sorted(int(name.split(".")[1]) for name in found if name.startswith("gallery."))
        self.galleries = [found[f"gallery.{size}"].astype(int) for size in sizes]

    def precision(self, person, gallery, similarities):
        truths = matches = 0
        labels, scores = [], []
        for scene in gallery:
            start, end = self.spans[scene]
            own = similarities[start:end]
            label = np.zeros(end - start, dtype=bool)
            box = self.truths[scene].get(person)
            if box is not None:
                truths += 1
                w, h = box[2] - box[0], box[3] - box[1]
                threshold = min(0.5, w * h / ((w + 10.0) * (h + 10.0)))
                agree = overlaps(box, self.boxes[start:end]) >= threshold
                for k in np.argsort(own)[::-1]:
                    if agree[k]:
                        label[k] = True
                        matches += 1
                        break
            labels.append(label)
            scores.append(own)
        if truths == 0:
            return None
        if matches == 0:
            return 0.0
        return matches / truths * average_precision_score(np.concatenate(labels), np.concatenate(scores))

    def maps(self):
        # All similarities at once: public code has a product for each scene.
        similarities = self.query_features.astype(np.float64) @ self.features.astype(np.float64).T
        maps = []
        for gallery in self.galleries:
            each = [self.precision(*query) for query in zip(self.queries, gallery, similarities)]
            maps.append(float(np.mean([ap for ap in each if ap is not None])))
        return maps


def main():
    warnings.simplefilter("error")
    folder, steps = sys.argv[1], int(sys.argv[2])
    search, maps = Search(folder), []

    def step():
        maps[:] = search.maps()
        return float(np.mean(maps))

    print(json.dumps(timed(steps, step) | {"maps": maps}))


if __name__ == "__main__":
    main()
