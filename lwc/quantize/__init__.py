"""INT8 policy: what is quantised, and how it is calibrated."""
