from .pipeline.dub import dub as dub
from .pipeline.dub import dub_cues as dub_cues
from .pipeline.options import DubOptions as DubOptions
from .pipeline.report import Report as Report
from .pipeline.weights import Models as Models
from .provenance.options import Provenance as Provenance
from .version import __version__ as __version__
