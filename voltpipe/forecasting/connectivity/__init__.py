"""Who drives whom: the coupling between channels, estimated from their spikes.

What is found here is a result in itself, and what `coupled_cnn_lstm` begins with. Nothing here is trained by gradient
descent; the truth that simulated recordings carry is compared with in `recovery`, and used nowhere else.
"""
