from tests.hub.process import serve

serve()
