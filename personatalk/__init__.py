"""PersonaTalk: visual dubbing that keeps the speaker's persona.

import personatalk
report = personatalk.dub("video.mp4", "speech.wav", "dubbed.mp4")

The public names stand in `__init__.pyi`; each is imported when it is first used, since that takes a while,
and `personatalk --help` must not wait for them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
