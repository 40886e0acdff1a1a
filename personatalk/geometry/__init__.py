"""The morphable model, its fitting to a video, cameras, masks and the rasterizer."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
