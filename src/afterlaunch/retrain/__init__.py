"""What is run around a retraining: replicates, and clusters that keep their names."""
