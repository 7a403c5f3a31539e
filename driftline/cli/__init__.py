"""What each command does.  Modules are light to import; the work is imported where it is done."""
