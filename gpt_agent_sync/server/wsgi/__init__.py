"""The WSGI server: waitress, which reads requests and writes answers on one thread of its own.

A client that is slow, or says half of what it wants, takes no thread of the application. What is
adapted here: threads come and go with what is to be done, streams keep their connection, requests
whose length is said in two ways are refused, and a close reaches the client though a forked child
has inherited the connection.
"""
