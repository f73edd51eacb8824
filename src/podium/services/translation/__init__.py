"""Other wire formats to and from chat completions, the one format the gateway speaks: Anthropic's messages and OpenAI's
responses. Pure: values in, values out, chunk by chunk; knows no HTTP, no pool and no clock.
"""
