"""Blobs: uploads, downloads, served images. Imports http, storage and below."""
