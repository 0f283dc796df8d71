"""Pictures, data sets, transforms, mixing and loaders."""

from swinkit.data.config import AugmentConfig, DataConfig, DataKind, LoadingConfig, Split
from swinkit.data.loader import PictureLoader, build_loader, choose_workers
from swinkit.data.mixing import MixBatch
from swinkit.data.open import PictureDataset, open_dataset
from swinkit.data.pictures import decode_picture, list_pictures, open_picture
from swinkit.data.sampling import ResumableSampler, TransformedDataset, TransformedShards
from swinkit.data.transforms import EvalTransform, TrainTransform, eval_transform, train_transform

__all__ = [
    "AugmentConfig",
    "DataConfig",
    "DataKind",
    "EvalTransform",
    "LoadingConfig",
    "MixBatch",
    "PictureDataset",
    "PictureLoader",
    "ResumableSampler",
    "Split",
    "TrainTransform",
    "TransformedDataset",
    "TransformedShards",
    "build_loader",
    "choose_workers",
    "decode_picture",
    "eval_transform",
    "list_pictures",
    "open_dataset",
    "open_picture",
    "train_transform",
]
