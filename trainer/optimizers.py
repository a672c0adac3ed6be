"""The optimizers a recipe may name, with the arguments of the Keras optimizers they become."""

from dataclasses import dataclass
from typing import ClassVar

from trainer.schema import NotNegative, Share


@dataclass(frozen=True)
class Adam:
    """Adaptive moments."""

    kind: ClassVar = "adam"
    beta_1: Share = 0.9
    beta_2: Share = 0.999
    epsilon: NotNegative = 1e-7


@dataclass(frozen=True)
class AdamW:
    """Adaptive moments with decoupled weight decay."""

    kind: ClassVar = "adamw"
    weight_decay: NotNegative = 4e-3
    beta_1: Share = 0.9
    beta_2: Share = 0.999
    epsilon: NotNegative = 1e-7


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent."""

    kind: ClassVar = "sgd"
    momentum: Share = 0.0
    nesterov: bool = False


@dataclass(frozen=True)
class RMSprop:
    """Gradients over their recent size."""

    kind: ClassVar = "rmsprop"
    rho: Share = 0.9
    momentum: Share = 0.0
    epsilon: NotNegative = 1e-7
    centered: bool = False


@dataclass(frozen=True)
class Adagrad:
    """Gradients over their size so far."""

    kind: ClassVar = "adagrad"
    initial_accumulator_value: NotNegative = 0.1
    epsilon: NotNegative = 1e-7


@dataclass(frozen=True)
class Adadelta:
    """Gradients over their recent size, in the units of the weights."""

    kind: ClassVar = "adadelta"
    rho: Share = 0.95
    epsilon: NotNegative = 1e-7


@dataclass(frozen=True)
class Adamax:
    """Adam with the infinity norm."""

    kind: ClassVar = "adamax"
    beta_1: Share = 0.9
    beta_2: Share = 0.999
    epsilon: NotNegative = 1e-7


@dataclass(frozen=True)
class Nadam:
    """Adam with Nesterov momentum."""

    kind: ClassVar = "nadam"
    beta_1: Share = 0.9
    beta_2: Share = 0.999
    epsilon: NotNegative = 1e-7


@dataclass(frozen=True)
class Ftrl:
    """Follow the regularized leader."""

    kind: ClassVar = "ftrl"
    l1_regularization_strength: NotNegative = 0.0
    l2_regularization_strength: NotNegative = 0.0


Optimizer = Adam | AdamW | SGD | RMSprop | Adagrad | Adadelta | Adamax | Nadam | Ftrl
