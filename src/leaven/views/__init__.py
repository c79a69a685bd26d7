"""Random views of batches, one kind per modality, with parameters of each sample's own."""

from leaven.views.numbers import CountViews, VectorViews
from leaven.views.pictures import MultiCropViews, PictureViews
from leaven.views.signals import SignalViews
from leaven.views.sound import SoundViews
from leaven.views.text import TextViews
from leaven.views.views import Views, default_views

__all__ = [
    "CountViews", "MultiCropViews", "PictureViews", "SignalViews", "SoundViews", "TextViews", "VectorViews", "Views", "default_views",
]  # fmt: skip
