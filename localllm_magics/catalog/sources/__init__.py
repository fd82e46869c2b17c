"""Where models lie: a module for each program that keeps some, which says where, and how it names them."""
