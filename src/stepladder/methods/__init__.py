"""What can be compared: everything that is fitted once and then answers questions."""
