"""The two model folders that people use, with their cards."""
