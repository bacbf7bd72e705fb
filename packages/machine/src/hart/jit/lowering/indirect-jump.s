# user
	.2byte 0x8782	# 0: c.jr a5
