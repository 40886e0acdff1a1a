from .camera import crop_transform as crop_transform
from .camera import project as project
from .morphable_model import MorphableModel as MorphableModel
