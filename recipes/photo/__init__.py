"""How the backbones for photographs are made: pictures, teachers, training, export."""
