"""What runs models, behind one seam."""
