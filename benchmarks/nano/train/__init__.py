"""The training of nano. Importing it first makes timm importable, see the stub."""

from .. import torchvision_stub as torchvision_stub
