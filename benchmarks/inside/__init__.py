"""What runs inside the measured processes; the measuring process never imports any of it."""
