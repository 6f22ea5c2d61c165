"""The bytes of a file as Pillow reads them."""

import io

_BLOCK = 65536  # Pillow hands its decoders blocks of this many bytes


class ByteStream(io.BytesIO):
    """The bytes of one file, which remember whether more was asked for than there is."""

    ran_out = False

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as :class:`io.BytesIO` does."""
        chunk = super().read(size)
        # A decoder that is fed block by block gets a short last block from every sound file.
        if size is not None and size > len(chunk) and (size < _BLOCK or not chunk):
            self.ran_out = True
        return chunk
