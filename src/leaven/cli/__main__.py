from leaven.cli import main

main()
