"""What the programs that measure nano share."""
