"""What nano learns from: drawn scenes, easy-vqa, and their tokens. No torch model."""
