"""A task of another package: nuclei as points at their centroids, to be counted."""

import numpy as np
from scipy import ndimage
from torch.nn import functional as F

from nasseg.tasks import TaskType, register_task


@register_task("points")
class Points(TaskType):
    """One channel: a peak at each centroid."""

    labels = "instances"
    scales = frozenset({"resized", "native"})
    metrics = {"count_score": "count score", "count_error": "count error"}  # noqa: RUF012
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
        error = np.abs(np.subtract(found, true)) / np.maximum(1, np.maximum(found, true))
        wrong = np.abs(np.subtract(found, true)).mean()
        return {"count_score": float(1 - error.mean()), "count_error": float(wrong)}

    def decode(self, probability):
        """A number for each local maximum above a tenth."""
        top = probability[0] == ndimage.maximum_filter(probability[0], size=5)
        return ndimage.label(top & (probability[0] > 0.1), np.ones((3, 3)))[0].astype(np.int32)
