"""The site itself: who may come in, and what binds the apps together."""
