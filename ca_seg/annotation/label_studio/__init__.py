"""A machine learning backend of Label Studio: the labels of a project as masks by words."""
