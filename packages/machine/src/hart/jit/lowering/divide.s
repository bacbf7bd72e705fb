# user
	.4byte 0x02c5c533	# 0: div a0,a1,a2
