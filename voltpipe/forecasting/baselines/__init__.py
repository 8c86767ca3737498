"""What every forecast is compared with: forecasters that are fitted in closed form, within seconds.

They stand behind the same interface as the networks and are saved the same way.
"""
