"""The verbs that run a bundle, check it, pack it, or show the whole job."""
