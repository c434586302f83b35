"""Watch a machine-learning model from launch to every weekly retrain."""

from afterlaunch.decide import InputError
from afterlaunch.finding import Effect, Finding, Review, Verdict

__version__ = "0.1.0"

__all__ = ["Effect", "Finding", "InputError", "Review", "Verdict", "__version__"]
