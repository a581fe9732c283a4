"""`make nights`: seven nights over 2,000 photographs, a model with real weights and Ray, and the same with kills.

make nights [PHOTOGRAPHS=2000] [SEED=1] [KILLS=60]
"""
