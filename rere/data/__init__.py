"""Sources -> interactions -> periods and k-core -> windows."""
