"""Masks of objects: out of a box's square into the picture, and back.

Legend: N objects, M rows and columns of a mask inside its box, H W of the picture.
"""

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from swinkit.ops.windows import Pair


def crop_masks(masks_GHW: Tensor, boxes_N4: Tensor, index_N: Tensor, size: int) -> Tensor:
    """Return what box i sees of mask `index_N[i]`, as (N, size, size) of 0 and 1: the target of a mask head.

    Boxes are clipped to the picture first.
    """
    height, width = masks_GHW.shape[-2:]
    x1, y1, x2, y2 = boxes_N4.unbind(-1)
    clipped = torch.stack(
        [x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)], -1
    )
    # Each mask is a picture of its own to RoIAlign, so that no mask is copied once per box.
    rois = torch.cat([index_N[:, None].to(clipped.dtype), clipped], dim=1)
    cut = torchvision.ops.roi_align(masks_GHW[:, None].to(clipped.dtype), rois, size, aligned=True)
    return (cut[:, 0] >= 0.5).to(clipped.dtype)


def paste_mask(probability_MM: Tensor, box: Tensor, size: Pair) -> tuple[Tensor, Pair]:
    """Return the probabilities (h, w) of the pixels around one box and the (row, column) they begin at.

    Pixels are sampled at their centres, bilinearly; beyond the box probabilities fall to 0 within half a cell
    of the mask.

    Args:
        probability_MM: of the cells of the box.
        box: (4,) in pixels.
        size: (height, width) of the picture; what is outside is cut off.
    """
    height, width = size
    x1, y1, x2, y2 = box.tolist()
    left, top = max(int(x1 // 1) - 1, 0), max(int(y1 // 1) - 1, 0)
    right, bottom = min(-int(-x2 // 1) + 1, width), min(-int(-y2 // 1) + 1, height)
    if right <= left or bottom <= top or x2 <= x1 or y2 <= y1:
        return probability_MM.new_zeros(0, 0), (0, 0)
    options = {"device": probability_MM.device, "dtype": torch.float32}
    rows = (torch.arange(top, bottom, **options) + 0.5 - box[1]) / (box[3] - box[1]) * 2 - 1
    columns = (torch.arange(left, right, **options) + 0.5 - box[0]) / (box[2] - box[0]) * 2 - 1
    grid = torch.stack([columns[None].expand(len(rows), -1), rows[:, None].expand(-1, len(columns))], dim=-1)
    pasted = F.grid_sample(probability_MM[None, None].float(), grid[None], align_corners=False)
    return pasted[0, 0], (top, left)


def paste_masks(probabilities_NMM: Tensor, boxes_N4: Tensor, size: Pair, threshold: float = 0.5) -> Tensor:
    """Return the masks (N, H, W), bool, of a picture of `size`: where the probability is at least
    `threshold`."""
    masks = torch.zeros(len(boxes_N4), *size, dtype=torch.bool, device=boxes_N4.device)
    for mask, probability, box in zip(masks, probabilities_NMM, boxes_N4, strict=True):
        pasted, (top, left) = paste_mask(probability, box, size)
        mask[top : top + pasted.shape[0], left : left + pasted.shape[1]] = pasted >= threshold
    return masks
