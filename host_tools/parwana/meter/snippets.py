"""What more than one command runs on a meter; each prints a line before what may take long."""

TELL_IMPORTS = """
def _tell(*names):
 for name in names:
  print('import', name)
  __import__(name)
"""
"""Code that tells each module before it is imported: one may take a slow flash a minute. (A hook
of `__import__` would not know for whom it imports, as relative imports need.)"""
HASHES = """
import os, hashlib, binascii
b = memoryview(bytearray(4096))
def walk(path):
 try: entries = list(os.ilistdir(path or '/'))
 except OSError: return
 for entry in entries:
  name = path + '/' + entry[0]
  if entry[1] & 0x4000: walk(name)
  else: show(name)
def show(name):
 h = hashlib.sha256()
 print(end=name)
 try:
  with open(name, 'rb') as f:
   done = 0
   while True:
    n = f.readinto(b)
    if not n: break
    h.update(b[:n])
    done += n
    if not done % 16384: print(f' {done}\\n{name}', end='')
  print('', binascii.hexlify(h.digest()).decode())
 except OSError: print()
"""
REMOVE = """
import os
def remove(path):
 print(path)
 try: os.remove(path)
 except OSError as e:
  if e.errno == 2: return
  for entry in os.ilistdir(path): remove(path + '/' + entry[0])
  os.rmdir(path)
"""
READ = """
import binascii
try:
 with open({path!r}, 'rb') as f:
  while True:
   b = f.read(4096)
   if not b: break
   print(binascii.b2a_base64(b).decode().strip())
except OSError as e:
 if e.errno != 2: raise
 print('none!')
"""
