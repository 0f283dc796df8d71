"""From a detector's specification to the detector: one line a kind of head."""

from collections.abc import Callable

from swinkit.backbones import Trunk, build_trunk
from swinkit.detection.atss import AtssDetector
from swinkit.detection.config import DetectorConfig, TwoStageConfig
from swinkit.detection.config_dense import AtssConfig, RepPointsV2Config
from swinkit.detection.detector import Detector
from swinkit.detection.htc import HybridTaskCascade
from swinkit.detection.htc_config import HtcConfig
from swinkit.detection.reppoints_v2 import RepPointsV2Detector
from swinkit.detection.sparse_config import SparseConfig
from swinkit.detection.sparse_rcnn import SparseRcnn
from swinkit.detection.two_stage import TwoStageDetector
from swinkit.ops.window_attention import Implementation
from swinkit.spec import ModelSpec

DETECTORS: dict[type, Callable[..., Detector]] = {
    TwoStageConfig: TwoStageDetector,
    AtssConfig: AtssDetector,
    RepPointsV2Config: RepPointsV2Detector,
    HtcConfig: HybridTaskCascade,
    SparseConfig: SparseRcnn,
}
"""Configuration of a head -> detector (backbone, config, spec)."""


def detector_on(backbone: Trunk, config: DetectorConfig, spec: ModelSpec | None = None) -> Detector:
    """Build the detector that `config` describes on a backbone that is already there."""
    return DETECTORS[type(config.head)](backbone, config, spec=spec)


def build_detector(spec: ModelSpec, *, attention_impl: Implementation = "auto") -> Detector:
    """Build the detector that `spec` describes, with random weights."""
    config = spec.config
    assert isinstance(config, DetectorConfig)
    return detector_on(build_trunk(config.backbone, attention_impl=attention_impl), config, spec)
