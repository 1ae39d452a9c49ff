"""Where a package's time goes, kernel by kernel, beside what the machine can do."""
