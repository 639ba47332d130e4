"""Other programs that record runs: TensorBoard, Weights & Biases, MLflow, Trackio. No torch."""
