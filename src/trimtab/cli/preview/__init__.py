"""Will it succeed?"""
