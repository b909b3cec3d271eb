"""Dense matching between two images of one place (Revaud et al., IJCV 2016)."""
