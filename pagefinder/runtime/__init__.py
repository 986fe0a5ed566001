"""Around a stage's work: outputs that appear whole, several processes, a pool of workers."""
