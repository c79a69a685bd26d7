"""Random views of batches, one kind per modality, with parameters of each sample's own."""

from leaven.views.counts import CountViews
from leaven.views.multicrop import MultiCropViews
from leaven.views.pictures import PictureViews
from leaven.views.text import TextViews
from leaven.views.vectors import VectorViews
from leaven.views.views import Views, default_views

__all__ = ["CountViews", "MultiCropViews", "PictureViews", "TextViews", "VectorViews", "Views", "default_views"]
