"""Nuclei as points at their centroids, to be counted; and a layout of files to learn them from."""

import numpy as np
from scipy import ndimage
from torch.nn import functional as F

from nasseg.data.sources.base import PIXELS, Item, Pair, Source, SourceType, given_path
from nasseg.tasks import TaskType


class Points(TaskType):
    """One channel: a peak at each centroid."""

    title = "centroids of nuclei, and their number"
    noun = "points"
    labels = "instances"
    scales = frozenset({"resized", "native"})
    metrics = {"count_score": "count score", "count_error": "count error"}  # noqa: RUF012
    lower_is_better = frozenset({"count_error"})
    monitor = "count_score"
    target_scale = 255.0

    def targets(self, label):
        """Gaussian peaks of 1.5 pixels."""
        peaks = np.zeros(label.shape)
        for row, column in ndimage.center_of_mass(label > 0, label, range(1, label.max() + 1)):
            peaks[round(row), round(column)] = 1.0
        soft = ndimage.gaussian_filter(peaks, 1.5)
        return np.rint(255 * soft / max(soft.max(), 1e-9)).astype(np.uint8)[None]

    def loss(self, context):
        """Cross-entropy of the peaks."""
        return F.binary_cross_entropy_with_logits

    def evaluate(self, net, loader, context):
        """How well the counts of all images agree."""
        device, found, true = next(net.parameters()).device, [], []
        for image, ids in loader:
            for probability in self.probability(net(image.to(device))).cpu().numpy():
                found.append(self.count(self.decode(probability)))
            true += [len(np.unique(label[label > 0])) for label in ids.numpy()]
        wrong = np.abs(np.subtract(found, true))
        score = 1 - np.mean(wrong / np.maximum(1, np.maximum(found, true)))
        return {"count_score": float(score), "count_error": float(wrong.mean())}

    def decode(self, probability):
        """A number for each local maximum above a tenth."""
        top = probability[0] == ndimage.maximum_filter(probability[0], size=5)
        return ndimage.label(top & (probability[0] > 0.1), np.ones((3, 3)))[0].astype(np.int32)


class PairFolder(SourceType):
    """A folder of NAME.pair.npy: grey image and ids, (2, H, W)."""

    labels = PIXELS
    layouts = ("NAME.pair.npy of grey images and ids",)

    def recognises(self, path, config):
        """A folder with such a file."""
        return path is not None and any(path.glob("*.pair.npy"))

    def open(self, path, config):
        """An item for each file."""
        files = sorted(given_path(path, self.name).glob("*.pair.npy"))

        def read(file):
            image, ids = np.load(file)
            return Pair(np.repeat(image.astype(np.uint8)[..., None], config.channels, 2), ids)

        return Source(str(path), [Item(f.name, lambda _, f=f: read(f), f.name) for f in files])
