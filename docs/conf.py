project = 'gocept.async'
copyright = 'gocept.async contributors'
release = version = '1.0.dev0'
master_doc = 'index'
exclude_patterns = ['_build']
