"""The plot, in a process of the environment that has the library: python plot.py FOLDER"""
import sys
