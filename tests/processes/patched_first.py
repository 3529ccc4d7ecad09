"""gevent's patches, before anything else is loaded; a configuration file of gunicorn, too."""

from gevent import monkey

monkey.patch_all()
