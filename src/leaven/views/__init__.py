"""Random views of batches, one kind per modality, with parameters of each sample's own."""

from leaven.views.color import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation, color_jitter, grayscale, sample_jitter
from leaven.views.counts import CountViews
from leaven.views.crop import resized_crop, rotate, sample_boxes, turn_inside
from leaven.views.defaults import default_views
from leaven.views.distort import cutout, gaussian_noise, solarize
from leaven.views.filters import gaussian_blur, sobel
from leaven.views.multicrop import MultiCropViews
from leaven.views.pictures import PictureViews
from leaven.views.text import TextViews
from leaven.views.vectors import VectorViews
from leaven.views.views import Views

__all__ = [
    "CountViews",
    "MultiCropViews",
    "PictureViews",
    "TextViews",
    "VectorViews",
    "Views",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "color_jitter",
    "cutout",
    "default_views",
    "gaussian_blur",
    "gaussian_noise",
    "grayscale",
    "resized_crop",
    "rotate",
    "sample_boxes",
    "sample_jitter",
    "sobel",
    "solarize",
    "turn_inside",
]
